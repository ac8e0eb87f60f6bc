"""The REST resources, as the service sends them and the client reads them: one module a subject."""
