"""`make test-gpu`: the serving image's promises on this host's GPUs, one row of JSON for each."""
