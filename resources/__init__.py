"""Connections to the outside, each opened when it is first used and never at import."""
