"""The page at ``/``: what the city's sensors say now, from this API alone."""
