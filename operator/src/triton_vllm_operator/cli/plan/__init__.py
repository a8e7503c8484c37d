"""`plan`: whether a model fits a GPU."""
