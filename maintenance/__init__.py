"""Keeps tables readable while they are written: joins small files, expires snapshots, removes orphans."""
