"""News: items with content, reading histories, impressions, and planted news."""
