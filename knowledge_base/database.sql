-- The tables of a knowledge base's database. Statements are separated by empty lines.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE records (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, domain TEXT NOT NULL,
    status TEXT NOT NULL, text TEXT NOT NULL, kinds TEXT NOT NULL, body TEXT NOT NULL);

CREATE INDEX by_place ON records (status, kind, domain, id);

CREATE VIRTUAL TABLE words USING fts5(
    text, kinds, content='records', content_rowid='number', tokenize='porter unicode61');

CREATE TRIGGER added AFTER INSERT ON records BEGIN
    INSERT INTO words (rowid, text, kinds) VALUES (new.number, new.text, new.kinds); END;

CREATE TRIGGER removed AFTER DELETE ON records BEGIN
    INSERT INTO words (words, rowid, text, kinds) VALUES ('delete', old.number, old.text, old.kinds); END;

CREATE TABLE sessions (id TEXT PRIMARY KEY, split TEXT NOT NULL, items TEXT NOT NULL, body TEXT NOT NULL);

CREATE INDEX by_items ON sessions (items);

CREATE TABLE pending (id TEXT PRIMARY KEY, kind TEXT NOT NULL, domain TEXT NOT NULL);

CREATE TABLE operations (number INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, at TEXT NOT NULL);

CREATE TABLE records_before (operation INTEGER NOT NULL, id TEXT NOT NULL, body TEXT);

CREATE TABLE sessions_before (operation INTEGER NOT NULL, id TEXT NOT NULL, body TEXT);

CREATE INDEX by_operation ON records_before (operation);

CREATE INDEX sessions_by_operation ON sessions_before (operation);
