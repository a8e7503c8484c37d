"""What the operator and the serving image agree on, each fact once: both import this package.

It depends on nothing but the standard library, and does no I/O. A change here is a change of the protocol between an
operator and the images that its users run: add, and keep what older images or operators use.
"""
