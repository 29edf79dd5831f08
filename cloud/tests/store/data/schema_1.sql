CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE opq_boxes (box_id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE locations (slug TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE regions (
    location TEXT NOT NULL, region TEXT NOT NULL, PRIMARY KEY (location, region)) WITHOUT ROWID;
CREATE TABLE laha_config (document TEXT NOT NULL);
CREATE TABLE makai_config (document TEXT NOT NULL);
CREATE TABLE makai_metrics (
    timestamp_ms INTEGER NOT NULL, expire_at INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX makai_metrics_by_time ON makai_metrics (timestamp_ms);
CREATE INDEX makai_metrics_expire ON makai_metrics (expire_at);

CREATE TABLE box_marks (
    box INTEGER PRIMARY KEY, box_id TEXT NOT NULL UNIQUE,
    spans BLOB NOT NULL DEFAULT x'', plain_high_ms INTEGER, newest BLOB);
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY, box INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL, sequence INTEGER,
    packed BLOB NOT NULL);
CREATE TABLE parcels (
    slot INTEGER PRIMARY KEY, parcel INTEGER NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    rows INTEGER NOT NULL, boxes BLOB NOT NULL, packed BLOB NOT NULL);
CREATE TABLE segments (
    segment INTEGER PRIMARY KEY, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    rows INTEGER NOT NULL, expire_at INTEGER NOT NULL);
CREATE TABLE blocks (
    block INTEGER PRIMARY KEY, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    rows INTEGER NOT NULL, packed BLOB NOT NULL, sum INTEGER NOT NULL);

CREATE TABLE trends (
    box_id TEXT NOT NULL, start_ms INTEGER NOT NULL, length_ms INTEGER NOT NULL DEFAULT 60000,
    location TEXT NOT NULL,
    voltage_min REAL, voltage_max REAL, voltage_average REAL,
    frequency_min REAL, frequency_max REAL, frequency_average REAL,
    thd_min REAL, thd_max REAL, thd_average REAL,
    transient_min REAL, transient_max REAL, transient_average REAL,
    other TEXT, covered_ms INTEGER, PRIMARY KEY (box_id, start_ms)) WITHOUT ROWID;
CREATE INDEX trends_by_time ON trends (length_ms, start_ms);
CREATE TABLE trends_new (
    start_ms INTEGER NOT NULL, box_id TEXT NOT NULL, length_ms INTEGER NOT NULL, location TEXT NOT NULL,
    voltage_min REAL, voltage_max REAL, voltage_average REAL,
    frequency_min REAL, frequency_max REAL, frequency_average REAL,
    thd_min REAL, thd_max REAL, thd_average REAL,
    transient_min REAL, transient_max REAL, transient_average REAL,
    other TEXT, covered_ms INTEGER, PRIMARY KEY (start_ms, box_id)) WITHOUT ROWID;
CREATE TABLE rollups (
    box_id TEXT NOT NULL, length_ms INTEGER NOT NULL, start_ms INTEGER NOT NULL,
    covered_ms INTEGER NOT NULL, packed BLOB NOT NULL, other TEXT,
    PRIMARY KEY (box_id, length_ms, start_ms)) WITHOUT ROWID;
CREATE TABLE rollups_due (
    length_ms INTEGER NOT NULL, start_ms INTEGER NOT NULL, box_id TEXT NOT NULL,
    PRIMARY KEY (length_ms, start_ms, box_id)) WITHOUT ROWID;

CREATE TABLE intervals_new (
    box_id TEXT NOT NULL, length_ms INTEGER NOT NULL, start_ns INTEGER NOT NULL,
    sequence INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (box_id, length_ms, start_ns, sequence)) WITHOUT ROWID;
CREATE TABLE intervals_due (
    start_ms INTEGER NOT NULL, length_ms INTEGER NOT NULL, box_id TEXT NOT NULL,
    PRIMARY KEY (start_ms, length_ms, box_id)) WITHOUT ROWID;
CREATE TABLE interval_numbers (
    box_id TEXT NOT NULL, sequence INTEGER NOT NULL, expire_at INTEGER NOT NULL,
    PRIMARY KEY (box_id, sequence));
CREATE INDEX interval_numbers_expire ON interval_numbers (expire_at);
CREATE TABLE interval_blocks (
    box_id TEXT NOT NULL, length_ms INTEGER NOT NULL, level INTEGER NOT NULL, start_ms INTEGER NOT NULL,
    packed BLOB NOT NULL, PRIMARY KEY (box_id, length_ms, level, start_ms));
CREATE INDEX interval_blocks_by_start ON interval_blocks (start_ms);
CREATE TABLE intervals_damaged (
    box_id TEXT NOT NULL, length_ms INTEGER NOT NULL, start_ns INTEGER NOT NULL, part TEXT NOT NULL,
    body BLOB, why TEXT NOT NULL, PRIMARY KEY (start_ns, box_id, length_ms, part));
CREATE TABLE disturbances (
    box_id TEXT NOT NULL, family TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
    closed INTEGER NOT NULL, kind TEXT NOT NULL, uncertainty_ns INTEGER NOT NULL, residual_v REAL,
    polyphase_group INTEGER NOT NULL, PRIMARY KEY (box_id, family, start_ns));
CREATE INDEX disturbances_by_start ON disturbances (start_ns);

CREATE TABLE events (
    event_id INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL, finished INTEGER NOT NULL DEFAULT 0,
    analysed INTEGER NOT NULL DEFAULT 0, expire_at INTEGER NOT NULL, document TEXT NOT NULL,
    requests INTEGER NOT NULL DEFAULT 0);
CREATE INDEX events_by_start ON events (start_ns / 1000000);
CREATE INDEX events_unfinished ON events (event_id) WHERE finished = 0;
CREATE INDEX events_unanalysed ON events (event_id) WHERE finished = 1 AND analysed = 0;
CREATE INDEX events_with_requests ON events (event_id) WHERE requests > 0;
CREATE INDEX events_expire ON events (expire_at);
CREATE TABLE box_events (
    event_id INTEGER NOT NULL, box_id TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (event_id, box_id)) WITHOUT ROWID;
CREATE INDEX box_events_by_box ON box_events (box_id, event_id);
CREATE TABLE files (
    file INTEGER PRIMARY KEY, filename TEXT NOT NULL UNIQUE, length INTEGER NOT NULL,
    sha256 TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE chunks (
    file INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (file, n));

CREATE TABLE incidents (
    incident_id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL, start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL, expire_at INTEGER NOT NULL, document TEXT NOT NULL,
    box_id TEXT AS (json_extract(document, '$.box_id')),
    kind TEXT AS (json_extract(document, '$.class')),
    uncertainty_ns INTEGER AS (json_extract(document, '$.uncertainty_ns')),
    clock_id INTEGER AS (json_extract(document, '$.clock_id')),
    leads INTEGER AS (json_extract(document, '$.leads')),
    by_hand INTEGER AS (coalesce(json_extract(document, '$.by_hand'), 0)),
    samples_began_ns INTEGER AS (json_extract(document, '$.samples_began_ns')),
    start_id INTEGER AS (json_extract(document, '$.start_id')));
CREATE INDEX incidents_by_end ON incidents (end_ns);
CREATE INDEX incidents_by_box ON incidents (box_id, end_ns, start_ns);
CREATE INDEX incidents_by_group_box ON incidents (group_id, box_id);
CREATE INDEX incidents_by_onset ON incidents
    (start_ns, group_id, box_id, kind, end_ns, uncertainty_ns, clock_id, leads, by_hand,
        samples_began_ns, start_id);
CREATE INDEX incidents_leading ON incidents (start_ns) WHERE leads IS NOT 0;
CREATE INDEX incidents_expire ON incidents (expire_at);
CREATE TABLE incident_facts (group_id INTEGER PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE incident_heirs (group_id INTEGER PRIMARY KEY, heir INTEGER NOT NULL);
CREATE INDEX incident_heirs_by_heir ON incident_heirs (heir);

CREATE TABLE incident_index (
    group_id INTEGER PRIMARY KEY, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
    length_ns INTEGER NOT NULL, kind TEXT NOT NULL, machine_kind TEXT NOT NULL, label TEXT,
    residual_percent REAL, severity REAL, scope TEXT, cell INTEGER, words TEXT NOT NULL DEFAULT '',
    boxes INTEGER NOT NULL DEFAULT 0, work TEXT, assigned_to TEXT, known_cause TEXT);
CREATE INDEX incident_index_severe ON incident_index (coalesce(severity, 0), group_id);
CREATE INDEX incident_index_long ON incident_index (coalesce(length_ns, 0), group_id);
CREATE INDEX incident_index_by_start ON incident_index (start_ns);
CREATE INDEX incident_index_by_end ON incident_index (end_ns, start_ns);
CREATE INDEX incident_index_cell ON incident_index (cell, group_id);
CREATE INDEX incident_index_labelled ON incident_index (start_ns) WHERE label IS NOT NULL;
CREATE TABLE incident_boxes (
    group_id INTEGER NOT NULL, box_id TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
    kind TEXT NOT NULL, residual_percent REAL, length_ns INTEGER NOT NULL,
    worst_start_ns INTEGER NOT NULL, worst_id INTEGER NOT NULL,
    PRIMARY KEY (group_id, box_id)) WITHOUT ROWID;
CREATE INDEX incident_boxes_by_box ON incident_boxes (box_id, start_ns);
CREATE INDEX incident_boxes_by_start ON incident_boxes (start_ns);
CREATE TABLE incident_tags (
    tag TEXT NOT NULL, start_ns INTEGER NOT NULL, group_id INTEGER NOT NULL,
    PRIMARY KEY (tag, start_ns, group_id)) WITHOUT ROWID;
CREATE INDEX incident_tags_by_group ON incident_tags (group_id);
CREATE TABLE incident_notes (
    note_id INTEGER PRIMARY KEY, group_id INTEGER NOT NULL, account_id TEXT NOT NULL,
    document TEXT NOT NULL);
CREATE INDEX incident_notes_by_group ON incident_notes (group_id);
CREATE INDEX incident_notes_by_account ON incident_notes (account_id);

CREATE TABLE phenomena (
    phenomena_id INTEGER PRIMARY KEY, start_ts_ms INTEGER NOT NULL, end_ts_ms INTEGER NOT NULL,
    expire_at INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX phenomena_by_end ON phenomena (end_ts_ms);
CREATE INDEX phenomena_expire ON phenomena (expire_at);
CREATE TABLE phenomenon_boxes (
    item TEXT NOT NULL, phenomena_id INTEGER NOT NULL, PRIMARY KEY (item, phenomena_id)) WITHOUT ROWID;
CREATE INDEX phenomenon_boxes_by_number ON phenomenon_boxes (phenomena_id);
CREATE TRIGGER phenomena_entered AFTER INSERT ON phenomena BEGIN
    INSERT OR IGNORE INTO phenomenon_boxes SELECT each.value, new.phenomena_id FROM json_each(
        CASE WHEN json_valid(new.document) THEN new.document ELSE '{}' END, '$.affected_opq_boxes'
    ) AS each WHERE each.value IS NOT NULL;
END;
CREATE TRIGGER phenomena_changed AFTER UPDATE ON phenomena BEGIN
    DELETE FROM phenomenon_boxes WHERE phenomena_id = old.phenomena_id;
    INSERT OR IGNORE INTO phenomenon_boxes SELECT each.value, new.phenomena_id FROM json_each(
        CASE WHEN json_valid(new.document) THEN new.document ELSE '{}' END, '$.affected_opq_boxes'
    ) AS each WHERE each.value IS NOT NULL;
END;
CREATE TRIGGER phenomena_removed AFTER DELETE ON phenomena BEGIN
    DELETE FROM phenomenon_boxes WHERE phenomena_id = old.phenomena_id;
END;
