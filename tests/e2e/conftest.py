from doors.workshop import terminal, workshop

__all__ = ["terminal", "workshop"]
