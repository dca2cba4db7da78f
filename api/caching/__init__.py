"""What a process of the API remembers of files and snapshots, none of which ever change, and shares by Redis."""
