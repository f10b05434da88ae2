-- The tables of a ledger. Anybody can read one with `sqlite3 FILE`, also during a run.
-- Bodies and requests are JSON text; times are UTC; NULL in a column of money means that it is not known.

-- One row each time that a process opens the ledger.
CREATE TABLE IF NOT EXISTS processes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,              -- boot and start time: tells it from a later process with its pid
    opened_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
    closed_at TEXT                      -- NULL: it is still open, or the process was killed
);

-- One row for each request without a reply: in flight, or left so by a process that has ended.
CREATE TABLE IF NOT EXISTS intents (
    process INTEGER NOT NULL,           -- processes.id
    serial INTEGER NOT NULL,            -- counts the requests of the process
    key TEXT NOT NULL,
    run TEXT NOT NULL,
    model TEXT NOT NULL,
    row_id TEXT NOT NULL,
    reserved_usd REAL,                  -- the most that the call can cost
    reserved_tokens INTEGER NOT NULL,   -- the most that it can use
    sent_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
    repeated_by INTEGER,                -- processes.id of who has sent the call again
    lost_at TEXT,                       -- its connection broke or its time was up; NULL: its reply may yet come
    PRIMARY KEY (process, serial)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS intents_by_key ON intents (key);

-- One row for each reply that was paid for. Keys are not unique: a lost call that is sent again may be paid twice. Of
-- two replies the older one (the smaller id) is the one that is used.
CREATE TABLE IF NOT EXISTS replies (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,                  -- SHA-256 of request, row, sample, attempt and round
    run TEXT NOT NULL,
    model TEXT NOT NULL,                -- its name in the recipe
    row_id TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,     -- of prompt_tokens
    reasoning_tokens INTEGER NOT NULL,  -- of completion_tokens
    cost_usd REAL,
    reserved_usd REAL,                  -- the most that the call could have cost
    reserved_tokens INTEGER NOT NULL,   -- the most that it could have used
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')),
    body TEXT NOT NULL,                 -- as the server sent it
    wire TEXT NOT NULL                  -- what was asked
);
-- The beginnings of keys: keys are random, so each commit writes as many pages of their index as it has replies,
-- until the index is large, and this one is a third of one of whole keys.
CREATE INDEX IF NOT EXISTS replies_by_key_start ON replies (substr(key, 1, 16));
CREATE INDEX IF NOT EXISTS replies_by_run ON replies (
    run, model, created_at, prompt_tokens, completion_tokens, cost_usd, reserved_usd, reserved_tokens
);

-- Fields of a request that a model was found not to take, so that they are not sent to it again.
CREATE TABLE IF NOT EXISTS refused_fields (
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,                -- what the endpoint calls it
    field TEXT NOT NULL,
    PRIMARY KEY (endpoint, model, field)
) WITHOUT ROWID;

-- How many requests a server answered without a reply (rate limits, errors), by kind.
CREATE TABLE IF NOT EXISTS abandoned (
    run TEXT NOT NULL,
    model TEXT NOT NULL,
    kind TEXT NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (run, model, kind)
) WITHOUT ROWID;
