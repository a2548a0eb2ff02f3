// Which thread answers signals.

#ifndef UNDISTILL_SIGNALS_H_
#define UNDISTILL_SIGNALS_H_

namespace undistill {

// Has a thread of its own take the signals that are sent to the process; to be called once, by the thread that calls operations.
void AnswerSignalsElsewhere();

}  // namespace undistill

#endif  // UNDISTILL_SIGNALS_H_
