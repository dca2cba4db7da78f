"""The loader of the hot view: from the compacted topics of all families into Redis."""
