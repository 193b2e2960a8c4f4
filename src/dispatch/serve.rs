//! Everything that falls due by time: each alarm that is due is served before the event of its turn.

use super::Dispatcher;
use super::due::Alarm;
use super::keys::QueueIndex;
use super::queue_state::Alarms;
use super::timer::Timer;

impl Dispatcher {
    /// Serves every timer that is due.
    pub(super) fn serve_due(&mut self) {
        while let Some(timer) = self.due.pop(self.now) {
            match timer {
                Timer::Partner(key) => {
                    if let Some(partner) = self.partners.partner_mut(key) {
                        partner.alarm.rang();
                    }
                    self.partners.judge(key, self.now, &mut self.due);
                    self.partners.list_all_of(key);
                    self.partners.touch(key);
                    self.partners.forget_if_done(key, self.now, &mut self.due);
                }
                Timer::Flights => self.partners.watch(self.now, &mut self.due),
                Timer::Bucket(key) => {
                    if let Some(bucket) = self.partners.bucket_mut(key) {
                        bucket.alarm.rang();
                    }
                    self.expire(key);
                    self.partners.list(key);
                    self.partners.touch_if_it_fails(key);
                    self.partners.reclaim(key, self.now, &mut self.due);
                }
                Timer::Lease(index) => {
                    self.alarm_rang(index, |alarms| &mut alarms.lease);
                    self.extend_leases(index);
                }
                Timer::Order(index) => {
                    self.alarm_rang(index, |alarms| &mut alarms.order);
                    self.overtake(index);
                }
                Timer::Intake(index) => self.alarm_rang(index, |alarms| &mut alarms.intake),
                Timer::Calls(index) => self.alarm_rang(index, |alarms| &mut alarms.calls),
                Timer::Trouble(index) => {
                    self.alarm_rang(index, |alarms| &mut alarms.trouble);
                    self.watch_troubles(index);
                }
                Timer::Summary(index) => {
                    self.alarm_rang(index, |alarms| &mut alarms.summary);
                    self.say_sums(index, false);
                }
                Timer::Hidden => {
                    self.hidden_alarm.rang();
                    self.forget_shown();
                }
                Timer::Parking(index) => {
                    if let Some(transfer) = self.queues.get_mut(index).and_then(|queue| queue.parking.as_deref_mut()) {
                        transfer.alarm.rang();
                    }
                }
                // The end of each turn looks for retiring queues that have nothing left, and begins a census that may begin.
                Timer::Retiring | Timer::Count => {}
                Timer::Stop => self.stop_is_due(),
            }
        }
    }

    fn alarm_rang(&mut self, index: QueueIndex, alarm: impl FnOnce(&mut Alarms) -> &mut Alarm) {
        if let Some(queue) = self.queues.get_mut(index) {
            alarm(&mut queue.alarms).rang();
        }
    }
}
