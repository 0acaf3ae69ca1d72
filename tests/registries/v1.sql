-- A PostgreSQL registry of version 1, as the program of then created it. It stays as it is.
CREATE TABLE events (event BIGINT NOT NULL, kind TEXT NOT NULL, sender TEXT NOT NULL, digest TEXT NOT NULL, file TEXT
    NOT NULL, folder TEXT NOT NULL, at TEXT NOT NULL, rows BIGINT NOT NULL, notes TEXT NOT NULL, readable BIGINT NOT
    NULL, answers BIGINT NOT NULL, answered BIGINT NOT NULL, night BIGINT NOT NULL, PRIMARY KEY (event));
CREATE TABLE orders (order_no BIGINT NOT NULL, event BIGINT NOT NULL, order_id TEXT NOT NULL, account TEXT NOT NULL,
    number BIGINT NOT NULL, order_ref TEXT NOT NULL, action TEXT NOT NULL, service_type TEXT NOT NULL, product TEXT
    NOT NULL, access_number TEXT NOT NULL, origin TEXT NOT NULL, termination TEXT NOT NULL, comments TEXT NOT NULL,
    code_type TEXT NOT NULL, content TEXT NOT NULL, rows BIGINT NOT NULL, cards BIGINT NOT NULL, awaiting BIGINT NOT
    NULL, since TEXT NOT NULL, PRIMARY KEY (order_no));
CREATE TABLE codes (code BIGINT NOT NULL, order_no BIGINT NOT NULL, event BIGINT NOT NULL, state SMALLINT NOT NULL,
    PRIMARY KEY (code));
CREATE TABLE touches (order_no BIGINT NOT NULL, code BIGINT NOT NULL, done BIGINT NOT NULL, settled BIGINT NOT NULL,
    PRIMARY KEY (order_no, code));
CREATE TABLE moves (event BIGINT NOT NULL, code BIGINT NOT NULL, order_no BIGINT NOT NULL, was SMALLINT NOT NULL,
    state SMALLINT NOT NULL, PRIMARY KEY (event, code));
CREATE TABLE repeats (event BIGINT NOT NULL, order_no BIGINT NOT NULL, rows BIGINT NOT NULL);
CREATE TABLE wishes (order_no BIGINT NOT NULL, wish TEXT NOT NULL);
CREATE TABLE guesses (event BIGINT NOT NULL, sender TEXT NOT NULL, day TEXT NOT NULL, codes BIGINT NOT NULL);
CREATE TABLE rejected (event BIGINT NOT NULL, row BIGINT NOT NULL, action TEXT NOT NULL, service_type TEXT NOT NULL,
    account TEXT NOT NULL, product TEXT NOT NULL, access_number TEXT NOT NULL, origin TEXT NOT NULL, termination TEXT
    NOT NULL, order_ref TEXT NOT NULL, comments TEXT NOT NULL, code_type TEXT NOT NULL, code TEXT NOT NULL, quantity
    TEXT NOT NULL, btn TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (event, row));
CREATE TABLE findings (event BIGINT NOT NULL, row BIGINT NOT NULL, column_name TEXT NOT NULL, reason TEXT NOT NULL,
    value TEXT NOT NULL);
CREATE TABLE replacements (event BIGINT NOT NULL, code BIGINT NOT NULL, replaced BIGINT NOT NULL, PRIMARY KEY (code));
CREATE TABLE unexpected (event BIGINT NOT NULL, order_id TEXT NOT NULL, code BIGINT NOT NULL, held TEXT NOT NULL);
CREATE TABLE accounts (reseller TEXT NOT NULL, account TEXT NOT NULL, product TEXT NOT NULL, description TEXT NOT
    NULL, acceptance TEXT NOT NULL);
CREATE TABLE access_numbers (access_number TEXT NOT NULL, account TEXT NOT NULL, description TEXT NOT NULL);
CREATE UNIQUE INDEX events_digest ON events (sender, digest) WHERE readable = 1 AND answers = event;
CREATE INDEX events_folder ON events (folder);
CREATE INDEX events_unanswered ON events (event) WHERE answered = 0;
CREATE UNIQUE INDEX orders_id ON orders (order_id);
CREATE UNIQUE INDEX orders_ref ON orders (account, order_ref);
CREATE UNIQUE INDEX orders_number ON orders (account, number);
CREATE INDEX orders_event ON orders (event);
CREATE INDEX orders_awaiting ON orders (order_no) WHERE awaiting > 0;
CREATE INDEX codes_order ON codes (order_no) WHERE order_no > 0;
CREATE UNIQUE INDEX touches_awaited ON touches (code) WHERE done = 0;
CREATE INDEX touches_code ON touches (code);
CREATE INDEX moves_code ON moves (code);
CREATE INDEX replacements_event ON replacements (event);
CREATE INDEX replacements_replaced ON replacements (replaced);
CREATE INDEX unexpected_event ON unexpected (event);
CREATE INDEX events_night ON events (night) WHERE kind <> 'orders';
CREATE INDEX orders_access ON orders (access_number);
CREATE INDEX orders_customer ON orders (order_ref);
CREATE INDEX wishes_order ON wishes (order_no);
CREATE INDEX guesses_sender ON guesses (sender);
CREATE INDEX repeats_event ON repeats (event);
CREATE INDEX findings_event ON findings (event);
CREATE TABLE version (version BIGINT NOT NULL);
INSERT INTO version VALUES (1);
