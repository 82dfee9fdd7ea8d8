"""One volume through the model: in one pass, slab by slab, or patch by patch."""
