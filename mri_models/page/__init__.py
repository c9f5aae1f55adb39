"""What the page looks like: HTML from reports, the gallery of examples, theme and style sheet. No events, no models."""
