"""Number formats, decode tables and quantisers. numpy only; what needs torch stands in its own module."""
