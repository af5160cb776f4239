// Options of `baichuan doctor`.
#pragma once

#include "app/command.h"
#include "app/model_options.h"

namespace baichuan {

struct DoctorOptions {
  bool json = false;

  static void describe(auto&& field) {
    field(&DoctorOptions::json, {.name = "json", .help = "Print one JSON object instead of the table."});
  }
};

struct DoctorCommandOptions : CommandOptions {
  DoctorOptions doctor;
  RunOptions run;

  void add_to(OptionTable& table) override;
};

// Exit status 1 when something is wrong that stops a command.
int run_doctor(const DoctorCommandOptions& options, const OptionTable& table);

}  // namespace baichuan
