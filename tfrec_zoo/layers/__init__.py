"""Layers: recurrent networks and their initialisation."""
