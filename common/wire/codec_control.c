// SPDX-License-Identifier: Apache-2.0
// Codec of operators' messages and plain answers: STATUS_REQUEST, STATUS, CONTROL, OK, ERROR.
#include "agrl/v1/control.pb-c.h"
#include "common/wire/codec.h"

static void status_request_put(wire *w, const agrl_msg_status_request *in, Agrl__V1__StatusRequest *pb) {
  (void)w, (void)in, (void)pb;
}

static void status_request_get(wire *w, const Agrl__V1__StatusRequest *pb, agrl_msg_status_request *out) {
  (void)w, (void)pb, (void)out;
}

static void status_put(wire *w, const agrl_msg_status *in, Agrl__V1__Status *pb) {
  pb->service = wire_put_name(w, in->service, AGRL_LIMIT_NAME, "service");
  if (!wire_count(w, in->n, AGRL_LIMIT_ITEMS, "status items")) return;
  pb->n_items = in->n;
  pb->items = wire_array(w, in->n, sizeof *pb->items);
  Agrl__V1__Kv *all = wire_array(w, in->n, sizeof *all);
  for (size_t i = 0; i < in->n; i++) {
    agrl__v1__kv__init(&all[i]);
    all[i].key = wire_put_name(w, in->items[i].key, AGRL_LIMIT_NAME, "status key");
    all[i].value = wire_put_text(w, in->items[i].value, AGRL_LIMIT_VALUE, "status value");
    pb->items[i] = &all[i];
  }
}

static void status_get(wire *w, const Agrl__V1__Status *pb, agrl_msg_status *out) {
  out->service = wire_get_str(w, pb->service, AGRL_LIMIT_NAME, "service");
  if (!wire_count(w, pb->n_items, AGRL_LIMIT_ITEMS, "status items")) return;
  agrl_kv *all = wire_array(w, pb->n_items, sizeof *all);
  for (size_t i = 0; i < pb->n_items && w->rc == AGRL_OK; i++) {
    all[i].key = wire_get_str(w, pb->items[i]->key, AGRL_LIMIT_NAME, "status key");
    all[i].value = wire_get_str(w, pb->items[i]->value, AGRL_LIMIT_VALUE, "status value");
  }
  out->n = pb->n_items;
  out->items = all;
}

static void control_put(wire *w, const agrl_msg_control *in, Agrl__V1__Control *pb) {
  pb->verb = wire_put_name(w, in->verb, AGRL_LIMIT_NAME, "verb");
  pb->arg = wire_put_name(w, in->arg, AGRL_LIMIT_VALUE, "argument");
}

static void control_get(wire *w, const Agrl__V1__Control *pb, agrl_msg_control *out) {
  out->verb = wire_get_str(w, pb->verb, AGRL_LIMIT_NAME, "verb");
  out->arg = wire_get_str(w, pb->arg, AGRL_LIMIT_VALUE, "argument");
}

static void ok_put(wire *w, const agrl_msg_ok *in, Agrl__V1__Ok *pb) {
  pb->text = wire_put_text(w, in->text, AGRL_LIMIT_VALUE, "answer text");
}

static void ok_get(wire *w, const Agrl__V1__Ok *pb, agrl_msg_ok *out) {
  out->text = wire_get_str(w, pb->text, AGRL_LIMIT_VALUE, "answer text");
}

static void error_put(wire *w, const agrl_msg_error *in, Agrl__V1__Error *pb) {
  pb->code = in->code;
  pb->text = wire_put_text(w, in->text, AGRL_LIMIT_VALUE, "error text");
}

static void error_get(wire *w, const Agrl__V1__Error *pb, agrl_msg_error *out) {
  out->code = pb->code;
  out->text = wire_get_str(w, pb->text, AGRL_LIMIT_VALUE, "error text");
}

WIRE_CODEC(status_request, StatusRequest, status_request)
WIRE_CODEC(status, Status, status)
WIRE_CODEC(control, Control, control)
WIRE_CODEC(ok, Ok, ok)
WIRE_CODEC(error, Error, error)
