/*
 * Commands on a Unix socket, for sequoiactl: one thread, lines of JSON.
 *
 *	server: {"sequoia-admin": 1, "version": "..."}                        once
 *	client: {"command": "runs", "args": {"state": "running"}}             one line, 64 KiB at
 *most server: {"ok": true, "data": {...}}  or
 *	        {"ok": false, "code": "...", "message": "..."}
 *
 * Commands and their arguments stand in tables/commands.tbl. Codes: bad_request, too_long,
 * unknown_command, bad_argument, forbidden, not_found, no_memory, busy.
 */
#ifndef SQ_ADMIN_ADMIN_H
#define SQ_ADMIN_ADMIN_H

#include "base/error.h"
#include "conf/settings.h"
#include "engine/engine.h"
#include "metric/metric.h"

#define SQ_ADMIN_PROTOCOL 1

struct sq_admin;

/*
 * Binds settings->admin_socket (mode 0660; the folder is made if it is missing, the socket of a
 * dead daemon replaced) and starts the thread. All are borrowed until stop. NULL with e filled.
 */
struct sq_admin *sq_admin_start(struct sq_engine *en, const struct sq_settings *settings,
				struct sq_metrics *metrics, struct sq_error *e);
void sq_admin_stop(struct sq_admin *a); /* cuts its clients, removes the socket; NULL is fine */

#endif
