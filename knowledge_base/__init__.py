"""Store, embed, retrieve and exchange distilled knowledge."""
