"""Alembic's entry: runs on the connection that `Database.migrate` hands over, or offline for a look at the SQL."""

from alembic import context

from tunesmith.store.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=False)
context.run_migrations()
