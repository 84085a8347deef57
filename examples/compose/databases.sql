-- Runs once, when the volume of Postgres is empty.
CREATE DATABASE n8n;
CREATE DATABASE paperless;
CREATE DATABASE tunesmith;
