// SPDX-License-Identifier: Apache-2.0
// Every maximum of the wire, in one place. Body limits are checked before a byte of the body is parsed, the others right
// after; a packer keeps to the same numbers, so what is sent can be received.
#ifndef AGRL_WIRE_LIMITS_H
#define AGRL_WIRE_LIMITS_H

#define AGRL_WIRE_SCHEMA 2u
#define AGRL_WIRE_HEADER_BYTES 40u

#define AGRL_LIMIT_KIB(n) ((size_t)(n) << 10)
#define AGRL_LIMIT_MIB(n) ((size_t)(n) << 20)

// Strings, in bytes without the NUL.
#define AGRL_LIMIT_NAME 255u                        // actors, services, verbs, criteria, keys
#define AGRL_LIMIT_LABEL 1023u                      // prompt ids, labels, causes
#define AGRL_LIMIT_TEXT AGRL_LIMIT_MIB(1)           // prompts, completions, model configuration
#define AGRL_LIMIT_VALUE AGRL_LIMIT_KIB(16)         // status values, answers' text, paths

// Counts.
#define AGRL_LIMIT_TOKENS ((size_t)1 << 17)         // of a prompt, of a completion
#define AGRL_LIMIT_LEVEL 64u
#define AGRL_LIMIT_TASKS 4096u
#define AGRL_LIMIT_ACKS 8192u
#define AGRL_LIMIT_SCORES 256u
#define AGRL_LIMIT_MEMBERS 4096u                    // of a group
#define AGRL_LIMIT_GROUPS 65536u                    // ids in a list, groups in a batch
#define AGRL_LIMIT_ENTRIES 65536u                   // journal entries in a HELLO
#define AGRL_LIMIT_ITEMS 1024u                      // status
#define AGRL_LIMIT_LINKS 256u                       // packages from an anchor to the newest weights
#define AGRL_LIMIT_CHUNK AGRL_LIMIT_MIB(8)

// Bodies, per kind: AGRL_LIMIT_BODY_<KIND>.
#define AGRL_LIMIT_BODY_TASK_REQUEST AGRL_LIMIT_KIB(4)
#define AGRL_LIMIT_BODY_TASK_GRANT AGRL_LIMIT_MIB(16)
#define AGRL_LIMIT_BODY_TRACE AGRL_LIMIT_MIB(4)
#define AGRL_LIMIT_BODY_SCORED AGRL_LIMIT_MIB(5)
#define AGRL_LIMIT_BODY_TRACE_ACK AGRL_LIMIT_MIB(1)
#define AGRL_LIMIT_BODY_HELLO AGRL_LIMIT_MIB(16)
#define AGRL_LIMIT_BODY_HELLO_REPLY AGRL_LIMIT_KIB(4)
#define AGRL_LIMIT_BODY_BATCH_REQUEST AGRL_LIMIT_KIB(4)
#define AGRL_LIMIT_BODY_BATCH AGRL_LIMIT_MIB(128)
#define AGRL_LIMIT_BODY_GROUPS_FETCH AGRL_LIMIT_MIB(1)
#define AGRL_LIMIT_BODY_TRAINED AGRL_LIMIT_MIB(1)
#define AGRL_LIMIT_BODY_CHECKPOINTED AGRL_LIMIT_KIB(4)
#define AGRL_LIMIT_BODY_ANNOUNCE AGRL_LIMIT_MIB(2)
#define AGRL_LIMIT_BODY_WEIGHTS_GET AGRL_LIMIT_KIB(4)
#define AGRL_LIMIT_BODY_CHUNK_GET AGRL_LIMIT_KIB(4)
#define AGRL_LIMIT_BODY_CHUNK (AGRL_LIMIT_CHUNK + AGRL_LIMIT_KIB(4))
#define AGRL_LIMIT_BODY_STATUS_REQUEST AGRL_LIMIT_KIB(4)
#define AGRL_LIMIT_BODY_STATUS AGRL_LIMIT_MIB(1)
#define AGRL_LIMIT_BODY_CONTROL AGRL_LIMIT_KIB(64)
#define AGRL_LIMIT_BODY_OK AGRL_LIMIT_KIB(64)
#define AGRL_LIMIT_BODY_ERROR AGRL_LIMIT_KIB(64)

// The largest message on any link, envelope included.
#define AGRL_LIMIT_MESSAGE (AGRL_LIMIT_BODY_BATCH + AGRL_WIRE_HEADER_BYTES)

// What unpacking may allocate: a body of many tiny sub-messages grows in memory, but not without bound.
#define AGRL_LIMIT_UNPACK_FIXED AGRL_LIMIT_MIB(1)
#define AGRL_LIMIT_UNPACK_FACTOR 16u

#endif
