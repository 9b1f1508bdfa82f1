from .workshop import terminal, workshop

__all__ = ["terminal", "workshop"]
