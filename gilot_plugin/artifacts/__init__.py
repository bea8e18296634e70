"""What an attributed run leaves on disk: record schema, writer, reader, validation."""
