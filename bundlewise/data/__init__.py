"""What people give us: sessions, catalogues, feedback and the official data, read strictly."""
