/* contract - the headers of commands and replies: what a participant in any language must know.
 *
 * A command is a CloudEvents record on `<prefix>cmd.<participant>`, keyed by saga id. A participant answers
 * to ce_sagareplyto, partition ce_sagareplypart, with the saga id as key, and ECHOES every header that begins
 * with `ce_saga`; the reply's ce_sagaoutcome says success, failure (a business refusal: nothing happened),
 * error (could not say) or pending (still working). docs/contract.md is the long form.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_CONTRACT_H
#define SB_SAGA_CONTRACT_H

#define SB_H_SPECVERSION "ce_specversion" /* 1.0 */
#define SB_H_ID          "ce_id"   /* command: the command id (the same over all attempts); reply: its own */
#define SB_H_TYPE        "ce_type" /* command: "<participant>.<action>"; reply: the same + ".reply" */
#define SB_H_SOURCE      "ce_source"
#define SB_H_TIME        "ce_time"
#define SB_H_EXPIRY      "ce_expirytime" /* RFC 3339: nobody waits for the answer any more after this */
#define SB_H_CORRELATION "ce_correlationid"
#define SB_H_CAUSATION   "ce_causationid" /* reply: the command id it answers */
#define SB_H_TRACEPARENT "traceparent"
#define SB_H_CONTENT     "content-type"
#define SB_H_SAGA_ID     "ce_sagaid"
#define SB_H_SAGA_STEP   "ce_sagastep"      /* step name */
#define SB_H_DIRECTION   "ce_sagadirection" /* forward | compensate */
#define SB_H_ROUND       "ce_sagaround"
#define SB_H_ATTEMPT     "ce_sagaattempt"   /* for tracing; never part of an identity */
#define SB_H_REPLY_TO    "ce_sagareplyto"   /* topic */
#define SB_H_REPLY_PART  "ce_sagareplypart" /* partition */
#define SB_H_FORWARD_ID  "ce_sagaforwardid" /* an undo: id of the forward command it undoes */
#define SB_H_FORWARD     "ce_sagaforward"   /* an undo: completed | unknown */
#define SB_H_OUTCOME     "ce_sagaoutcome"   /* reply: success | failure | error | pending */
#define SB_H_ERROR       "ce_sagaerror"     /* reply: text, for failure and error */
#define SB_H_ERROR_CLASS                                                                                     \
    "ce_sagaerrorclass" /* reply: validation | business | external | infrastructure (saga/error_class.h) */
#define SB_H_ATTENTION "ce_sagaattention" /* reply, with an error: true: an operator must look at it */

#define SB_H_SAGA_PREFIX "ce_saga" /* echo rule: everything that begins so */

/* A larger result could not be kept with the saga and handed to later steps. */
#define SB_REPLY_RESULT_MAX (512u << 10)

#endif
