"""`rollout`: the state and the history of rollouts, and what continues, pauses or undoes them."""
