"""The evaluation of a model: scores, pictures and the report."""
