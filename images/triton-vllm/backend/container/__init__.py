"""What all processes of the container use: control groups, processes, the start-up report, shutdown."""
