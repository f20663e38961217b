#include "metric/db_inside.h"

#define TEXT(x) #x
#define PRAGMA(name, value) "PRAGMA " name " = " TEXT(value) ";"

/*
 * People read the views, .schema shows them the comments. Names stand once, in `names`; its ids are
 * this file's own, so the table has no instance. Faults and triggers are names too: their numbers
 * in the program may change between versions.
 */
const char sq_metric_db_schema[] =
	"CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"
	"CREATE TABLE arrivals(\n"
	"  id INTEGER PRIMARY KEY, -- second of writing << 24 | number\n"
	"  instance INTEGER NOT NULL, time_ns INTEGER NOT NULL, run BLOB NOT NULL,\n"
	"  chain INTEGER, function INTEGER, tenant INTEGER, trigger INTEGER,\n"
	"  fault INTEGER, -- NULL: accepted\n"
	"  class INTEGER NOT NULL, generation INTEGER NOT NULL, body_bytes INTEGER NOT NULL\n"
	") STRICT;"
	"CREATE TABLE invocations(\n"
	"  id INTEGER PRIMARY KEY, -- second of writing << 24 | number\n"
	"  instance INTEGER NOT NULL, run BLOB NOT NULL, node INTEGER NOT NULL,\n"
	"  attempt INTEGER NOT NULL, chain INTEGER, function INTEGER, tenant INTEGER,\n"
	"  backend INTEGER, queued_ns INTEGER NOT NULL, -- wall time\n"
	"  queue_ns INTEGER NOT NULL, service_ns INTEGER NOT NULL,\n"
	"  function_ns INTEGER, -- as the function reported it\n"
	"  status INTEGER, fault INTEGER, overrun INTEGER NOT NULL, cold INTEGER NOT NULL,\n"
	"  generation INTEGER NOT NULL, in_bytes INTEGER NOT NULL, out_bytes INTEGER NOT NULL\n"
	") STRICT;"
	"CREATE TABLE gauges(\n"
	"  id INTEGER PRIMARY KEY, -- second of writing << 24 | number\n"
	"  instance INTEGER NOT NULL, time_ns INTEGER NOT NULL, scope INTEGER,\n"
	"  cap INTEGER NOT NULL, used INTEGER NOT NULL, waiting INTEGER NOT NULL\n"
	") STRICT;"

	"CREATE VIEW arrivals_named AS SELECT\n"
	"  strftime('%Y-%m-%dT%H:%M:%fZ', a.time_ns / 1e9, 'unixepoch') AS time,\n"
	"  lower(hex(a.run)) AS run, c.name AS chain, f.name AS function, t.name AS tenant,\n"
	"  g.name AS trigger, x.name AS fault, a.class, a.generation, a.body_bytes, a.instance\n"
	"FROM arrivals AS a LEFT JOIN names AS c ON c.id = a.chain\n"
	"  LEFT JOIN names AS f ON f.id = a.function LEFT JOIN names AS t ON t.id = a.tenant\n"
	"  LEFT JOIN names AS g ON g.id = a.trigger LEFT JOIN names AS x ON x.id = a.fault;"

	"CREATE VIEW invocations_named AS SELECT\n"
	"  strftime('%Y-%m-%dT%H:%M:%fZ', i.queued_ns / 1e9, 'unixepoch') AS queued,\n"
	"  lower(hex(i.run)) AS run, i.node, i.attempt, c.name AS chain, f.name AS function,\n"
	"  t.name AS tenant, b.name AS backend, i.queue_ns / 1e6 AS queue_ms,\n"
	"  i.service_ns / 1e6 AS service_ms, i.function_ns / 1e6 AS function_ms, i.status,\n"
	"  x.name AS fault, i.overrun, i.cold, i.generation, i.in_bytes, i.out_bytes, i.instance\n"
	"FROM invocations AS i LEFT JOIN names AS c ON c.id = i.chain\n"
	"  LEFT JOIN names AS f ON f.id = i.function LEFT JOIN names AS t ON t.id = i.tenant\n"
	"  LEFT JOIN names AS b ON b.id = i.backend LEFT JOIN names AS x ON x.id = i.fault;"

	"CREATE VIEW gauges_named AS SELECT\n"
	"  strftime('%Y-%m-%dT%H:%M:%fZ', g.time_ns / 1e9, 'unixepoch') AS time,\n"
	"  s.name AS scope, g.cap, g.used, g.waiting, g.instance\n"
	"FROM gauges AS g LEFT JOIN names AS s ON s.id = g.scope;"

	"CREATE VIEW function_1m AS\n"
	"-- By the minute in which the call ended; quantiles: service time, nearest rank.\n"
	"WITH ended AS (\n"
	"  SELECT function, (queued_ns + queue_ns + service_ns) / 60000000000 AS minute,\n"
	"    queue_ns, service_ns, fault, status FROM invocations),\n"
	"ranked AS (\n"
	"  SELECT *, count(*) OVER same AS n,\n"
	"    row_number() OVER (PARTITION BY function, minute ORDER BY service_ns) AS rank\n"
	"  FROM ended WINDOW same AS (PARTITION BY function, minute))\n"
	"SELECT names.name AS function,\n"
	"  strftime('%Y-%m-%dT%H:%MZ', minute * 60, 'unixepoch') AS minute, count(*) AS calls,\n"
	"  sum(fault IS NOT NULL OR status >= 500) AS failed,\n"
	"  avg(queue_ns) / 1e6 AS queue_ms, avg(service_ns) / 1e6 AS service_ms,\n"
	"  max(CASE WHEN rank = (n * 50 + 99) / 100 THEN service_ns END) / 1e6 AS p50_ms,\n"
	"  max(CASE WHEN rank = (n * 99 + 99) / 100 THEN service_ns END) / 1e6 AS p99_ms\n"
	"FROM ranked LEFT JOIN names ON names.id = ranked.function\n"
	"GROUP BY ranked.function, ranked.minute;"

	PRAGMA("application_id", SQ_METRIC_APPLICATION) PRAGMA("user_version", SQ_METRIC_SCHEMA);
