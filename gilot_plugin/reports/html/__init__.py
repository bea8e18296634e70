"""Self-contained HTML pages: no network, and nothing in them that a text could run."""
