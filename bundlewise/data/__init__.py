"""Read the data of users strictly: sessions, catalogues, feedback and the official data."""
