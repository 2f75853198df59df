"""Faults that ``clipmask_tools.faults`` puts into runs, and checks of their effects."""
