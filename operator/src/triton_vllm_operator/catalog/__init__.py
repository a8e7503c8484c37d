"""What is inside a serving image and what it accepts: releases, engine arguments, server flags, known CVEs, drivers.

Pure: tables in `data/` and their readers. No network, no clock (today is an argument), no Kubernetes.
"""
