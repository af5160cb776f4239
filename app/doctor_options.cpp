#include "app/doctor_options.h"

namespace baichuan {

void DoctorCommandOptions::add_to(OptionTable& table) {
  table.add("Doctor", doctor);
  table.add("Run", run);
}

}  // namespace baichuan
