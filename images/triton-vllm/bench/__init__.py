"""`make bench-serving`: the speed of the serving image beside that of `vllm serve`, in one run on one machine."""
