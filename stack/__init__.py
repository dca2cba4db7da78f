"""The ``lakehouse`` command line and the local stack that it supervises."""
