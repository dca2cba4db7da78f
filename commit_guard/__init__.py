"""The commit guard: Flink's only address of the Iceberg REST catalog, which keeps a checkpoint from landing twice.

Iceberg's Flink sink looks once, at its start, which checkpoint the table has. A commit of the attempt before that
lands after this look makes the sink append the same data files again. The guard looks at the table at every commit
of Flink, refuses a checkpoint that the table has, and answers a repeated commit with the table that it made.
Everything else goes through as it came.
"""
