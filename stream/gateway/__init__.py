"""HTTP: health and metrics of a worker, on a port of their own."""
