"""The machine that the cluster runs on: kernel, networks, processes, firewall, packages."""
