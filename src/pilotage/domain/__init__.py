"""The words everything is told in: frozen values, stdlib only, no I/O."""
