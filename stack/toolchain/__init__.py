"""What the platform needs that is not a Python package: jars and a Java runtime."""
