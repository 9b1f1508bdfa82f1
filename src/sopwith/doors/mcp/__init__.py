"""`sop mcp`: the tools for agents over the Model Context Protocol, by the official SDK. Imported by that verb alone."""
