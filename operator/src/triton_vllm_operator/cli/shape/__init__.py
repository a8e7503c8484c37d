"""`shape`: the shape of a model, for `plan --shape`."""
