"""The starter sessions and packs: package data, see README.md."""
