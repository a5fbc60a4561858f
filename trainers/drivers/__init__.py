"""How blocks of steps are run: on one device, on replicas in step, or by parameter servers."""
