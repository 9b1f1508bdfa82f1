from .workshop import slow, terminal, workshop

__all__ = ["slow", "terminal", "workshop"]
