"""The parts of the HTML page (formats/html.py): markup, charts, sections, its style and script."""
