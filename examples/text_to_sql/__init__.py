"""The sample databases of the question and query generator, and how questions are asked."""
